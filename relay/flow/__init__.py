"""The two pipelines, intake (frames to disk) and drain (disk to frames)."""
