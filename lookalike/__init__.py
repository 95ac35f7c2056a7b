"""The domain of Lookalike: values, errors, ports, rules and use cases; it imports no other package of ours."""
