"""The sockets: connections that are opened, watched, relieved in time and taken up again."""

from microstream_lab.market.stream.shard import StreamOptions, StreamStatus
from microstream_lab.market.stream.stream import MarketStream, shards, stream_names, stream_url

__all__ = ["MarketStream", "StreamOptions", "StreamStatus", "shards", "stream_names", "stream_url"]
