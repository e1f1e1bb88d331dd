// Package nearest finds the word that somebody meant who has misspelt it.
package nearest

// Of returns the one of words that is nearest to word; an empty string if none is near. A word is not near if it differs by
// more than two letters, or by all letters of a short word.
func Of(word string, words []string) (nearest string) {
	best := min(3, len(word))
	for _, candidate := range words {
		if d := distance(word, candidate, best); d < best {
			best, nearest = d, candidate
		}
	}
	return nearest
}

// distance returns how many bytes must be inserted, dropped, changed, or swapped with their neighbour to make b of a
// (Damerau and Levenshtein, each byte touched once). It returns limit for limit and more.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, last, row = last, row, before
		row[0] = i + 1
		least := row[0]
		for j := range len(b) {
			d := min(last[j+1], row[j]) + 1
			if a[i] == b[j] {
				d = min(d, last[j])
			} else {
				d = min(d, last[j]+1)
			}
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, before[j-1]+1)
			}
			row[j+1] = d
			least = min(least, d)
		}
		if least > limit { // a swap looks two rows back
			return limit
		}
	}
	return min(row[len(b)], limit)
}
