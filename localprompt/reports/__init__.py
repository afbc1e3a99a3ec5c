"""Reports: what the store has of a run or a study, as data of a fixed shape and as one HTML file. Level 9."""
