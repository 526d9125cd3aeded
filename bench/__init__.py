"""Side-by-side measurements of message brokers that speak the NATS protocol: `python -m bench`, `bench.telemetry`.

Nothing here imports the broker: servers are started as processes and reached over TCP, so any of them can stand in.
"""
