"""Models trained the usual way, measured on the very events that streamer is measured on."""
