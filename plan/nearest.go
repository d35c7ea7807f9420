package plan

import "strings"

// nearest is the candidate that a person most likely meant by word, or "".
// Up to two slips are forgiven, one in short words.
func nearest(word string, candidates []string) string {
	if len(word) > 64 {
		return ""
	}
	best, least := "", 3
	if len(word) <= 4 {
		least = 2
	}
	for _, c := range candidates {
		if n := distance(plain(word), plain(c)); n < least {
			best, least = c, n
		}
	}
	return best
}

// plain makes base_url, base-url and baseUrl the same.
func plain(word string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(word))
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
