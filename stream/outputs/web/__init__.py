"""The page that shows a stream as it is measured, in any browser; decides the display's state, measures nothing."""
