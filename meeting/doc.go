// Package meeting lets the tasks of a job agree on one instant to start at. They
// cannot reach each other, but all can reach a bucket: what they have to say is an
// object in it.
//
// Below the folder of the execution, which has no other objects:
//
//	here-I-PLAN   task I is there, with a plan that begins so; how the task compares its clock with the bucket's, too
//	start.json    written once, by who is first: when all start, or why nobody does
//	started-I     written once, by the process that sends the part of task I
//
// Beside the folder, EXECUTION-task-I.json is the result of task I.
//
// Task 0 writes the start when all are there. Whoever has waited for too long
// writes that there is none: as there is one such object, nobody starts while
// others have given up. A process sends nothing before it has written that it
// has started, so no part is sent twice, whatever becomes of it.
//
// Owns: the objects, the comparison of clocks, what one process finds of those
// before it. Does not own: what a part of a load is, what is in a result.
//
// Price: a start some seconds after the last task has come (Lead), and as exact as
// the time in which the bucket answers.
package meeting
