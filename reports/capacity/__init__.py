"""What ``brokerbench capacity`` shows: ``terminal`` prints it, ``picture`` draws rate → p99, ``told`` has the words of both."""
