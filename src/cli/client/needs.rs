//! `service-gateway needs`: what a gateway needs now, or what a load would take.

use super::{Where, http};
use crate::cli::{exit, failed, print};
use clap::Args;
use gateway_config::parse_duration;
use gateway_scaling::plan::{Costs, Demand, plan};
use serde_json::Value;
use std::{process::ExitCode, time::Duration};

/// Say how many workers are needed, and why; with --plan: what a load would take, on paper
#[derive(Args)]
pub(in crate::cli) struct Needs {
    #[command(flatten)]
    at: Where,
    /// The service; all of them if none is named
    #[arg(conflicts_with = "plan")]
    service: Option<String>,
    #[command(flatten)]
    load: LoadArguments,
}

/// A load on paper.
#[derive(Args)]
#[command(next_help_heading = "Planning (no gateway is asked)")]
struct LoadArguments {
    /// Reckon workers, broker and store for the load below
    #[arg(long, requires_all = ["rate", "service_time"])]
    plan: bool,
    /// Tasks that come, such as 5/s, 200/min, 1000/h or 2000000/d
    #[arg(long, value_name = "RATE", value_parser = rate)]
    rate: Option<f64>,
    /// How long a task takes
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    service_time: Option<f64>,
    /// How long a task may wait
    #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "5m")]
    target: f64,
    /// How uneven the times are: 0 all equal, 1 at random, above if a few are very long
    #[arg(long, value_name = "NUMBER", default_value_t = 1.0)]
    variation: f64,
    /// Tasks that a worker runs at once
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    slots: u32,
    /// How often a client asks for its task's status
    #[arg(long, value_name = "NUMBER", default_value_t = 20.0)]
    questions: f64,
    /// Reports of a worker for each task: its begin, its end, progress
    #[arg(long, value_name = "NUMBER", default_value_t = 2.0)]
    reports: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    parse_duration(text).as_ref().map(Duration::as_secs_f64).map_err(ToString::to_string)
}

/// Tasks a second.
fn rate(text: &str) -> Result<f64, String> {
    let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
    let per = match unit.trim() {
        "s" => 1.0,
        "min" | "m" => 60.0,
        "h" => 3600.0,
        "d" | "day" => 86_400.0,
        _ => return Err("write a number and /s, /min, /h or /d".to_owned()),
    };
    match number.trim().parse::<f64>() {
        Ok(number) if number > 0.0 && number < 1e12 => Ok(number / per),
        _ => Err("expected a number above zero, and /s, /min, /h or /d".to_owned()),
    }
}

impl Needs {
    pub(in crate::cli) fn run(self) -> ExitCode {
        exit(if self.load.plan { self.load.show(self.at.json) } else { self.ask() })
    }

    fn ask(&self) -> Result<(), ExitCode> {
        let path = match &self.service {
            Some(service) => format!("{}/needs", http::segment(service)),
            None => "needs".to_owned(),
        };
        let needs = self.at.ask(async |http| http.get(&path).await)?;
        if self.at.json {
            return self.at.show(&needs);
        }
        match needs["services"].as_object() {
            Some(services) if services.is_empty() => print("no services"),
            Some(services) => print(&services.values().map(told).collect::<Vec<_>>().join("\n\n")),
            None if needs["desired_workers"].is_u64() => print(&told(&needs)),
            None => Err(failed("no needs in the answer")),
        }
    }
}

/// One service for people.
fn told(needs: &Value) -> String {
    let number = |key: &str| needs[key].as_f64().map_or_else(|| "unknown".to_owned(), |number| format!("{number}"));
    let time = |key: &str| needs[key].as_f64().map_or_else(|| "unknown".to_owned(), |time| format!("{time:.1} s"));
    let rate = needs["arrival_rate"].as_f64();
    let rate = rate.map_or_else(|| "unknown".to_owned(), |rate| format!("{:.2} a minute", rate * 60.0));
    let share = needs["utilisation"].as_f64();
    let share = share.map_or_else(|| "unknown".to_owned(), |share| format!("{:.0} %", share * 100.0));
    format!(
        "{}: {} workers wanted, {} there\n  {}\n  waiting {} (oldest {}), running {}, idle slots {}, at work {share}\n  \
         arrivals {rate}; a task takes {}, 95 % within {}\n  a task that comes now waits {}; nothing waits after {}",
        needs["service"].as_str().unwrap_or_default(),
        number("desired_workers"),
        number("workers"),
        needs["reason"].as_str().unwrap_or_default(),
        number("waiting"),
        time("oldest_wait"),
        number("running"),
        number("idle_slots"),
        time("service_time_mean"),
        time("service_time_p95"),
        time("predicted_wait"),
        time("drain_time"),
    )
}

impl LoadArguments {
    fn show(&self, json: bool) -> Result<(), ExitCode> {
        // clap has seen to it that both are there.
        let (Some(rate), Some(service)) = (self.rate, self.service_time) else { return Err(ExitCode::from(2)) };
        let demand = Demand {
            rate,
            service: service.max(0.001),
            variation: self.variation.max(0.0),
            target: self.target,
            slots: self.slots.max(1),
            questions: self.questions.max(0.0),
            reports: self.reports.max(1.0),
            size: 2048.0,
            result: 4096.0,
            keep_results: 2.0 * 3600.0,
            keep_records: 30.0 * 86_400.0,
        };
        let plan = plan(&demand, &Costs::default());
        if !json {
            return print(&plan.text(&demand));
        }
        let parts = plan
            .parts
            .iter()
            .map(|part| serde_json::json!({ "part": part.name, "amount": part.amount, "arithmetic": part.arithmetic }));
        let ceilings = plan
            .ceilings
            .iter()
            .map(|(most, name, why)| serde_json::json!({ "part": name, "tasks_per_second": most, "arithmetic": why }));
        let answer = serde_json::json!({
            "workers": plan.workers, "installations": plan.installations,
            "parts": parts.collect::<Vec<_>>(), "ceilings": ceilings.collect::<Vec<_>>(),
        });
        print(&answer.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_with_their_unit() {
        assert_eq!(rate("5"), Ok(5.0));
        assert_eq!(rate("120/min"), Ok(2.0));
        assert_eq!(rate("86400 / d"), Ok(1.0));
        for wrong in ["", "x", "5/w", "-1/s", "0", "inf"] {
            assert!(rate(wrong).is_err(), "{wrong:?}");
        }
    }
}
