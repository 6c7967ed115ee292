"""One frozen `Settings`: flags > `STREAMER_*` environment > file > defaults."""
