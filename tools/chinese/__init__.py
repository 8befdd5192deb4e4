"""The Chinese edition: made from the English texts and a catalogue of messages for each."""
