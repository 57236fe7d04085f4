"""The configuration of Sematext's Logagent as one of the relay: inputs, filters, outputs."""
