"""The order of a cluster, by etcd's Raft; `orderer.EtcdOrderer` is what a replica takes."""

import os

# gRPC's core writes its own lines about every refused connection to stderr; what matters is in the errors
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
