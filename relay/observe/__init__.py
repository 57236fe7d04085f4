"""What the relay says about itself: status, statistics, control socket."""
