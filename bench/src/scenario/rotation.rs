//! An authority is tainted, so that the SVIDs of all open streams are replaced at once.

use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use tokio::time::sleep;

use super::{About, Scenario, streams};
use crate::BenchError;
use crate::admin::Admin;
use crate::call::Call;
use crate::held::Holder;
use crate::load::{self, Work};
use crate::measurement::Measurement;
use crate::reading::{Aim, Reading, Subject};
use crate::setting::Setting;

pub(super) const ABOUT: About = About {
    question: "the X.509 authority is tainted under the same streams: time until each has a new SVID, and another \
               caller's requests meanwhile (200 a second, open loop)",
    floor: "as many P-256 keys made and signatures on all processors, and then a message to as many streams of a bare \
            server; of the requests: while nothing happens",
    aim: "at most 1.3 times; p99 at most 3 times its quiet value",
};

/// The other caller's requests a second.
const OTHER: f64 = 200.0;
/// What is signed: as long as a certificate without its signature, in bytes.
const TO_BE_SIGNED: usize = 400;

/// The scenario.
pub(super) struct Rotation {
    count: u32,
}

impl Rotation {
    pub(super) fn start(setting: &Setting) -> Result<Self, BenchError> {
        Ok(Self { count: streams::count(setting)? })
    }
}

#[async_trait(?Send)]
impl Scenario for Rotation {
    async fn round(&mut self, setting: &Setting, _: u32) -> Result<Vec<Reading>, BenchError> {
        let mut stage = streams::stage(setting).await?;
        let made = made_and_signed(self.count)?;
        let pushed = {
            let mut holder = Holder::start(&stage.floor.socket(), self.count)?;
            holder.mark()?;
            let begin = Instant::now();
            stage.floor.push()?;
            holder.replaced()?;
            begin.elapsed()
        };
        let target = stage.target(Subject::Ours)?;
        let mut holder = Holder::start(&target.socket, self.count)?;
        let other = Work::open(Call::Fetch, 1, OTHER);
        let quiet = load::measure(&target, other, &setting.plan)?;
        holder.mark()?;
        let loaded = tokio::task::spawn_blocking({
            let (target, plan) = (target.clone(), setting.plan.clone());
            move || load::measure(&target, other, &plan)
        });
        // What counts of the other caller begins when the rotation does.
        sleep(Duration::from_millis(setting.plan.warm_up_ms)).await;
        let mut admin = Admin::connect(&stage.agent.admin_socket()).await?;
        let cpu = crate::process::cpu_time(stage.agent.pid())?;
        let begin = Instant::now();
        admin.taint_x509().await?;
        let replaced = tokio::task::spawn_blocking(move || holder.replaced().map(|()| (begin.elapsed(), holder)));
        let (took, holder) = joined(replaced.await)?;
        let cpu = crate::process::cpu_time(stage.agent.pid())?.saturating_sub(cpu);
        let meanwhile = joined(loaded.await)?;
        // Not before: that all streams end at once is nothing of the other caller's.
        drop(holder);
        Ok(self.readings(took, made + pushed, cpu, (&meanwhile, &quiet)))
    }
}

impl Rotation {
    fn readings(
        &self,
        took: Duration,
        floor: Duration,
        cpu: Duration,
        (meanwhile, quiet): (&Measurement, &Measurement),
    ) -> Vec<Reading> {
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
        let all = format!("until all of {} streams have a new SVID", self.count);
        let each_us = milliseconds(cpu) * 1e3 / f64::from(self.count);
        vec![
            Reading::beside(all, "ms", milliseconds(took), milliseconds(floor)).aiming(Aim::RatioAtMost(1.3)),
            Reading::beside("another caller's p99 meanwhile, of quiet", "us", meanwhile.p99_us, quiet.p99_us)
                .aiming(Aim::RatioAtMost(3.0)),
            Reading::beside("another caller's p50 meanwhile, of quiet", "us", meanwhile.p50_us, quiet.p50_us),
            Reading::alone("the agent's processor time for each stream", "us", each_us),
        ]
    }
}

/// Makes so many keys and signs as often with another one, on all processors.
fn made_and_signed(count: u32) -> Result<Duration, BenchError> {
    let threads = thread::available_parallelism().map_err(BenchError::system("count the processors"))?.get();
    let each = (count as usize).div_ceil(threads);
    let begin = Instant::now();
    let work = move || -> Result<(), BenchError> {
        let random = SystemRandom::new();
        let key =
            || EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| BenchError::Crypto("make a key"));
        let authority = key()?;
        for number in 0..each {
            let _made = key()?;
            let bytes = [u8::try_from(number % 256).unwrap_or_default(); TO_BE_SIGNED];
            authority.sign(&random, &bytes).map_err(|_| BenchError::Crypto("sign"))?;
        }
        Ok(())
    };
    let working: Vec<_> = (0..threads).map(|_| thread::spawn(work)).collect();
    for thread in working {
        thread.join().map_err(|_| BenchError::Crypto("work on all processors"))??;
    }
    Ok(begin.elapsed())
}

/// What panicked has measured nothing.
fn joined<T>(ended: Result<Result<T, BenchError>, tokio::task::JoinError>) -> Result<T, BenchError> {
    ended.unwrap_or(Err(BenchError::Nothing("the rotation")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_take_time() {
        assert!(made_and_signed(8).unwrap() > Duration::ZERO);
    }
}
