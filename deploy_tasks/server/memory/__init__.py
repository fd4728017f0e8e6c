"""The sandbox's builder, registry and cluster: all of it on this machine, most of it in memory."""
