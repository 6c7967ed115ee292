"""Adapters: the ports of `streamer.ports`, filled by Kafka, Redis, and memory twins of each."""
