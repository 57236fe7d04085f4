"""Headers of RFC 5424 and RFC 3164 and their fields."""
