//! `needs`: how many workers there should be, and why.

use gateway_contract::{Facts, Needs, Place, Rejection, Reply, Step, View, data};
use serde_json::{Map, Value, json};

/// Of one service, flat, as scalers read it; or of all by their names.
pub(crate) fn answer<F: Facts, G, R: Send + 'static>(facts: &F, place: &Place) -> Step<G, Reply<R>> {
    let one = match place {
        Place::Service(service) => Some(&**service),
        Place::Gateway | Place::Platform | Place::UnknownService => None,
    };
    let (needs, one) = (facts.needs(one), one.is_some());
    Step::errand(async move {
        let needs = needs.await?;
        let shown = match needs.first().filter(|_| one) {
            Some(needs) => show(needs),
            None => {
                let services: Map<_, _> = needs.iter().map(|needs| (needs.service.to_string(), show(needs))).collect();
                json!({ "services": services })
            }
        };
        Ok::<_, Rejection>(data(shown.to_string(), View::Needs))
    })
}

fn show(needs: &Needs) -> Value {
    // Numbers and texts, no maps with other keys: it serialises.
    serde_json::to_value(needs).unwrap_or(Value::Null)
}
