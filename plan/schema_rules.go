package plan

// schemaShortForms are those that a map may be written in, by type.
func schemaShortForms() map[string]*schemaNode {
	expression := schemaCondition()
	expression.Description = "The expression alone."
	fixed := schemaDuration()
	fixed.Description = "A pause of this length."
	return map[string]*schemaNode{"Threshold": expression, "ThinkTime": fixed}
}

func schemaCondition() *schemaNode {
	return &schemaNode{Type: "string", Pattern: trimmed(conditionForm.String())}
}

// schemaStatus is a status code, a class or a list of them.
func schemaStatus() *schemaNode {
	one := func() *schemaNode {
		return &schemaNode{
			Type: []string{"integer", "string"}, Minimum: bound(100), Maximum: bound(999),
			Pattern: `^\s*([1-5][xX][xX]|[1-9][0-9][0-9])\s*$`,
		}
	}
	return &schemaNode{
		Description: "A status code such as 200, a class such as 2xx, or a list of them.",
		AnyOf:       []*schemaNode{one(), {Type: "array", Items: one(), MinItems: 1}},
	}
}

// schemaRules are those on several keys of a map, by type.
func schemaRules() map[string]schemaNode {
	return map[string]schemaNode{
		"Plan": {AllOf: []*schemaNode{{
			If:   &schemaNode{Not: endsByItself()},
			Then: propertyOf("config", &schemaNode{Required: []string{"duration"}}),
		}}},
		"Load": {AllOf: []*schemaNode{
			needs("model", "rps", "target"),
			needs("model", "ramp", "min", "max", "rampDuration"),
			needs("model", "dailytraffic", "min", "mid", "max", "cycleDuration"),
			needs("model", "stages", "stages"),
			{
				If:   &schemaNode{Properties: properties("unit", &schemaNode{Const: "workers"}), Required: []string{"unit"}},
				Then: propertyOf("model", &schemaNode{Const: "stages"}),
			},
		}},
		"TLS":     {DependentRequired: map[string][]string{"cert": {"key"}, "key": {"cert"}}},
		"Request": {AllOf: oneOfThe(bodyKeys)},
		"Multipart": {AllOf: append(oneOfThe([]string{"value", "file"}),
			&schemaNode{AnyOf: []*schemaNode{{Required: []string{"value"}}, {Required: []string{"file"}}}})},
		"Extract": {AllOf: []*schemaNode{
			needs("type", "jsonPath", "jsonPath"), needs("type", "regex", "regex"),
			needs("type", "header", "header"), needs("type", "cookie", "cookie"),
		}},
		"Assertion": {AllOf: []*schemaNode{
			{If: needs("type", "statusCode").If, Then: &schemaNode{
				Properties: properties("expected", schemaStatus()), Required: []string{"expected"},
			}},
			{If: needs("type", "jsonPath").If, Then: &schemaNode{
				Properties: properties("expected", schemaText()), Required: []string{"path"},
			}},
			needs("type", "responseTime", "max"), needs("type", "bodyContains", "text"),
			needs("type", "bodyMatches", "regex"), needs("type", "headerExists", "header"),
		}},
	}
}

// endsByItself matches a plan that may leave config.duration out.
func endsByItself() *schemaNode {
	return propertyOf("load", &schemaNode{AnyOf: []*schemaNode{
		{Required: []string{"iterations"}}, needs("model", "stages").If,
	}})
}

// propertyOf matches a map with a key that is like s.
func propertyOf(key string, s *schemaNode) *schemaNode {
	return &schemaNode{Properties: properties(key, s), Required: []string{key}}
}

func properties(key string, s *schemaNode) *schemaProperties {
	return &schemaProperties{names: []string{key}, schemas: []*schemaNode{s}}
}

// needs is the rule that a map whose key has a value has others too.
func needs(key, value string, others ...string) *schemaNode {
	return &schemaNode{If: propertyOf(key, &schemaNode{Const: value}), Then: &schemaNode{Required: others}}
}

// oneOfThe is the rule that a map has at most one of some keys.
func oneOfThe(keys []string) []*schemaNode {
	var rules []*schemaNode
	for i, first := range keys {
		for _, second := range keys[i+1:] {
			rules = append(rules, &schemaNode{Not: &schemaNode{Required: []string{first, second}}})
		}
	}
	return rules
}
