"""One file a resource; each route names the right that it needs and hands the work to a use case."""
