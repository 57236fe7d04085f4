"""`syslogrelay certs`: a private authority, its certificates, and what is wrong with any."""
