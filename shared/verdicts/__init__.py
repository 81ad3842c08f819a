"""Who is better, and how sure that is: pure functions from scores to intervals, sequential tests and ratings."""
