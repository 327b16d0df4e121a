"""What measuring takes: stopwatch, schedules, publishers and clips; knows no experiment."""
