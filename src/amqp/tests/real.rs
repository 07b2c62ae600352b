//! Against a real RabbitMQ, named by `SG_TEST_AMQP_URL`; `tests/run` starts one and sets it.
//!
//! | file | what |
//! |---|---|
//! | `support` | the broker, a proxy that cuts and stalls, queues that are deleted in the end |
//! | `publishing` | sent, unroutable and refused told apart; timeouts; closing |
//! | `receiving` | results, receipts, redelivery, events |
//! | `connecting` | broker away, connections cut, a peer that stays silent |
//! | `queues` | topology and its faults, questions, commands |

#[path = "real/connecting.rs"]
mod connecting;
#[path = "real/publishing.rs"]
mod publishing;
#[path = "real/queues.rs"]
mod queues;
#[path = "real/receiving.rs"]
mod receiving;
#[path = "real/support.rs"]
mod support;
