package plan

import "strings"

const acceptJSONPath = "a JSONPath such as $.items[0].id"

const maxJSONPath = 4096 // bytes

// jsonPathProblem is lenient: it finds what no dialect of JSONPath allows, and
// leaves the inside of brackets, but for their balance, to the engine. Hyphens
// are legal in names after a dot.
func jsonPathProblem(text string) string {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), "$")
	switch {
	case !ok:
		return "does not begin with $"
	case len(text) > maxJSONPath:
		return "is too long"
	}
	for rest != "" {
		var problem string
		switch {
		case strings.HasPrefix(rest, ".."):
			rest, problem = afterName(rest[2:], true)
		case rest[0] == '.':
			rest, problem = afterName(rest[1:], false)
		case rest[0] == '[':
			rest, problem = afterBrackets(rest)
		default:
			problem = "has a name without a dot before it"
		}
		if problem != "" {
			return problem
		}
	}
	return ""
}

// afterName skips a name or a star; after two dots a bracket may follow too.
func afterName(text string, descendant bool) (rest, problem string) {
	if descendant && strings.HasPrefix(text, "[") {
		return text, ""
	}
	end := strings.IndexAny(text, ".[")
	if end < 0 {
		end = len(text)
	}
	name := text[:end]
	switch {
	case name == "":
		return "", "has a dot without a name after it"
	case strings.ContainsAny(name, " ]()'\"$?@,"):
		return "", "has a name with characters that need ['…']"
	}
	return text[end:], ""
}

// afterBrackets skips a balanced pair of brackets; quotes hide brackets.
func afterBrackets(text string) (rest, problem string) {
	depth := 0
	var quote byte
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '[':
			depth++
		case c == ']':
			if depth--; depth > 0 {
				continue
			}
			if strings.TrimSpace(text[1:i]) == "" {
				return "", "has empty brackets"
			}
			return text[i+1:], ""
		}
	}
	if quote != 0 {
		return "", "has a quote that is not closed"
	}
	return "", "has a bracket that is not closed"
}
