// Package settings is volley's environment: one typed struct, decoded with
// envconfig and validated as a whole. Nothing else in the program reads the
// environment.
//
// One set of rules holds for every variable: an empty one is not set; a bool
// is true, 1, yes, on or false, 0, no, off in any case; numbers may have blanks
// around them; durations are a whole number with ms, s, m, h or d, a bare
// number being seconds. Every bad value is a start-up error that names the
// variable, the value (masked if it is a secret) and what is accepted, and all
// of them are reported at once. A variable that has no effect any more is
// warned about.
package settings
