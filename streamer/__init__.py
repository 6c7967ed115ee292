"""A streaming recommender: events on Kafka in, fresh top-k lists in Redis out."""

__version__ = "0.1.0"
