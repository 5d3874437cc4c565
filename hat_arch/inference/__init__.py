"""From weights and images to larger images: what upscales for validation, tables, benchmarks and the command line."""
