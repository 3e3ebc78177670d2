//! The integration tests: the built binary against a real SQS, S3 and OpenSearch on loopback.
//!
//! The servers are started once (by `scripts/test.sh`, or by the first test through `scripts/testbed/up.sh`);
//! every test has a queue with a dead-letter queue, two buckets, an index and a daemon of its own, so tests run
//! side by side.
//!
//! * [`harness`]: the servers, a test's world, the daemon as a process
//! * [`messages`]: every body of contract §1 and its outcome
//! * [`documents`]: keys, fields, foreign fields, what the search application asks for
//! * [`docuworks`]: originals and their converted PDFs
//! * [`faults`]: outages, kill -9, SIGTERM, stale receipt handles
//! * [`poison`]: documents that kill what reads them; [`checkpoints`]: long documents that are interrupted
//! * [`outages`]: each dependency down in each way: paused, told, resumed; [`relay`]: how it is brought about
//! * [`histories`]: random histories of objects, deliveries and crashes
//! * [`late_writes`]: writes that the index applies when others have moved on
//! * [`chaos`]: everything at once, for minutes
//! * [`agreement`]: whether the index agrees with the bucket
//! * [`bodies`]: what producers send
//! * [`interruption`]: spot notices, rebalance recommendations, Auto Scaling, signals
//! * [`bad_input`]: files that nobody vetted
//! * [`engine`]: pictures that the OCR engine could stumble over, in the sandbox
//! * [`machine`]: full disks, a deleted spool, and the count of outcomes
//! * [`commands`]: the command line as a person uses it; [`doctor`]: what it finds
//! * [`pdf`]: PDF files made on the spot
//! * [`same_content`]: files that are there more than once
//! * [`corpus`]: every file of the corpus, where it is there

mod agreement;
mod bad_input;
mod bodies;
mod chaos;
mod checkpoints;
mod commands;
mod corpus;
mod doctor;
mod documents;
mod docuworks;
mod engine;
mod faults;
mod harness;
mod histories;
mod interruption;
mod late_writes;
mod machine;
mod messages;
mod outages;
mod pdf;
mod poison;
mod relay;
mod same_content;
