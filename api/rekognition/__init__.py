"""Amazon Rekognition's calls for collections, faces and users, answered by the service's own use cases."""
