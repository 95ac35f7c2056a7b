"""CompreFace's REST calls for recognition, detection and verification, answered by the service's own use cases."""
