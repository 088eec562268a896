"""What vectors, models and decoded texts are worth: roundtrip, baselines, retrieval, decoding, crossing of spaces."""
