"""Evaluation: what the line finds against what is known to be there, by the rules that the field agreed on."""
