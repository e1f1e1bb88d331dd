package policyfile

import "fmt"

// didYouMean gives the one of words that is nearest to word, as the end of an error: `; did you mean "image"?`. It
// gives nothing where none is near: more than two letters off, or all letters of a short word.
func didYouMean(word string, words []string) string {
	best, nearest := min(3, len(word)), ""
	for _, candidate := range words {
		if d := distance(word, candidate, best); d < best {
			best, nearest = d, candidate
		}
	}
	if nearest == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", nearest)
}

// distance is the number of bytes to insert, drop or change to get from a to b (Levenshtein), or limit if it is that
// or more.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		least := row[0]
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d = min(diagonal, row[j], row[j+1]) + 1
			}
			diagonal, row[j+1] = row[j+1], d
			least = min(least, d)
		}
		if least >= limit {
			return limit
		}
	}
	return min(row[len(b)], limit)
}
