"""Tools of measuring: stopwatch, schedules, publishers and clips; knows no experiment."""
