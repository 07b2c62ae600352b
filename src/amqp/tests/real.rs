//! Against a real RabbitMQ, named by `SG_TEST_AMQP_URL`; `tests/run` starts one and sets it.
//!
//! | file | what |
//! |---|---|
//! | `support` | the broker, a proxy that cuts and stalls, queues that are deleted in the end |
//! | `publishing` | sent, unroutable and refused told apart; timeouts; closing |
//! | `receiving` | results, receipts, redelivery, events |
//! | `serving` | a worker's tasks |
//! | `dead` | dead letters |
//! | `bindings` | the reply queue bound to an exchange of workers' results |
//! | `connecting` | broker away, connections cut, a peer that stays silent |
//! | `queues` | topology and its faults, questions, commands |

#[path = "real/bindings.rs"]
mod bindings;
#[path = "real/connecting.rs"]
mod connecting;
#[path = "real/dead.rs"]
mod dead;
#[path = "real/publishing.rs"]
mod publishing;
#[path = "real/queues.rs"]
mod queues;
#[path = "real/receiving.rs"]
mod receiving;
#[path = "real/serving.rs"]
mod serving;
#[path = "real/support.rs"]
mod support;
