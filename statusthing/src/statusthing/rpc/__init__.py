"""The wire: gRPC, gRPC-Web, Connect and plain HTTP POST + JSON, over one table of operations."""
