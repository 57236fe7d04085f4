"""How much the queue takes in: backpressure, limits, the delay between commits."""
