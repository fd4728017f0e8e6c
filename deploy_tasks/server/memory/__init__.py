"""The sandbox's builder, registry and cluster: real builds and images, a simulated cluster."""
