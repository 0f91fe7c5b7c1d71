"""The protobuf messages and service descriptions, generated from `proto/statusthing/v1`."""
