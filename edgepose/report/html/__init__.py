"""report.html: one file that opens offline, in light and dark, on a phone and on paper."""
