"""HTTP without I/O: bodies of requests, and what answers say of them."""
