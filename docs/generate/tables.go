package main

import (
	"fmt"
	"slices"
	"strings"

	"volley/plan"
	"volley/settings"
)

// table writes rows as Markdown.
func table(head []string, rows [][]string) string {
	var b strings.Builder
	line := func(cells []string) {
		b.WriteString("|")
		for _, c := range cells {
			b.WriteString(" " + strings.ReplaceAll(c, "|", `\|`) + " |")
		}
		b.WriteString("\n")
	}
	line(head)
	b.WriteString(strings.Repeat("|---", len(head)) + "|\n")
	for _, r := range rows {
		line(r)
	}
	return b.String()
}

// prose is text in which nothing looks like a tag of HTML.
func prose(text string) string { return strings.ReplaceAll(text, "<", "&lt;") }

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

// planTitles names the sections of a plan by where their map stands.
var planTitles = map[string]string{
	"plan": "The document", "metadata": "`metadata`", "config": "`config`", "pool": "`config.pool`", "dns": "`config.dns`",
	"tls": "`config.tls`", "load": "`load`", "stage": "`load.stages[]`", "scenario": "`scenarios[]`", "step": "`scenarios[].steps[]`",
	"request": "`steps[].request`", "multipart": "`request.multipart[]`", "extract": "`steps[].extract[]`",
	"assertion": "`steps[].assertions[]`", "cache": "`steps[].cache`", "thinkTime": "`steps[].thinkTime`",
	"dataFile": "`scenarios[].dataFile`", "scenarioConfig": "`scenarios[].config`", "standby": "`standby`",
	"threshold": "`thresholds[]`", "metrics": "`metrics`",
}

func planTitle(section string) string {
	if title, ok := planTitles[section]; ok {
		return title
	}
	return "`" + section + "`"
}

// planPart is a table of each map of a plan.
func planPart() string {
	var b strings.Builder
	for _, s := range plan.Reference() {
		fmt.Fprintf(&b, "### %s\n\n", planTitle(s.Name))
		var rows [][]string
		for _, f := range s.Fields {
			form := f.Form
			if f.Of != "" {
				form += " of " + planTitle(f.Of)
				if f.Form == "map" {
					form = planTitle(f.Of)
				}
			}
			standard := code(f.Default)
			if f.Required {
				standard = "required"
			}
			rows = append(rows, []string{code(f.Key), form, standard, prose(f.About)})
		}
		b.WriteString(table([]string{"Key", "Value", "Default", "Meaning"}, rows) + "\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// restOfSettings takes the groups that have no place of their own in the page.
const restOfSettings = "others"

// settingsParts are tables of variables by group, those without a place of
// their own under "others".
func settingsParts() map[string]string {
	own := []string{"Run", "Job", "Ephemeral", "Node", "Registry", "Control", "OTLP", "Log", "Memory", "Cluster", "Source", "Consul", "LoadPlan", "Deprecated"}
	// The page says once what bools and durations are.
	short := strings.NewReplacer("true, 1, yes, on or false, 0, no, off", "bool", "a text", "text",
		"a duration such as 500ms, 30s, 5m, 2h or 1d (a bare number is seconds)", "duration", "a whole number", "whole number", "a number", "number")
	parts := map[string]string{restOfSettings: ""}
	for _, g := range settings.Groups() {
		var rows [][]string
		for _, v := range g.Variables {
			name := code(v.Name)
			if v.Secret {
				name += " (secret)"
			}
			rows = append(rows, []string{name, code(v.Default), short.Replace(v.Accepts), prose(v.Meaning)})
		}
		text := table([]string{"Variable", "Default", "Accepts", "Meaning"}, rows)
		if slices.Contains(own, g.Name) {
			parts[g.Name] = text
		} else {
			parts[restOfSettings] += "\n### " + g.Name + "\n\n" + text
		}
	}
	return parts
}
