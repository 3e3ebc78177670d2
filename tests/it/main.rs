//! The integration tests: the built binary against a real SQS, S3 and OpenSearch on loopback.
//!
//! The servers are started once (by `scripts/test.sh`, or by the first test through `scripts/testbed/up.sh`);
//! every test has a queue with a dead-letter queue, two buckets, an index and a daemon of its own, so tests run
//! side by side.
//!
//! * [`harness`]: the servers, a test's world, the daemon as a process
//! * [`messages`]: every body of contract §1 and its outcome
//! * [`documents`]: keys, fields, foreign fields, what the search application asks for
//! * [`faults`]: outages, kill -9, SIGTERM, stale receipt handles
//! * [`interruption`]: spot notices, rebalance recommendations, Auto Scaling, signals
//! * [`bad_input`]: files that nobody vetted
//! * [`commands`]: the command line as a person uses it
//! * [`pdf`]: PDF files made on the spot
//! * [`corpus`]: every file of the corpus, where it is there

mod bad_input;
mod commands;
mod corpus;
mod documents;
mod faults;
mod harness;
mod interruption;
mod messages;
mod pdf;
