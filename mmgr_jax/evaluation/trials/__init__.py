"""Every method, protocol, split and task, tried and measured."""
