//! When a daemon that does not answer is asked again: later each time, and after some failures rarely.

use std::time::Duration;

/// The first pause.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest one before the breaker opens.
const LONGEST: Duration = Duration::from_secs(5);
/// So many failures in a row open the breaker.
const FAILURES: u32 = 8;
/// How often one that is open lets a question through.
const OPEN: Duration = Duration::from_secs(30);

/// How a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Questions are asked.
    Closed,
    /// It has not answered for long: it is asked now and then. Rules and routes stay as they are.
    Open,
}

impl BreakerState {
    /// As it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
        }
    }
}

/// Counts failures in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Breaker {
    failures: u32,
}

impl Breaker {
    /// It has answered.
    pub const fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// It has not. How long it is left alone, with up to a quarter more by a random number.
    pub fn failed(&mut self, random: u32) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let pause = match self.state() {
            BreakerState::Open => OPEN,
            BreakerState::Closed => {
                let doubled = SHORTEST * 2_u32.saturating_pow(self.failures.saturating_sub(1));
                doubled.min(LONGEST)
            }
        };
        pause + pause / 4 * (random % 256) / 256
    }

    /// How it stands.
    pub const fn state(&self) -> BreakerState {
        match self.failures >= FAILURES {
            true => BreakerState::Open,
            false => BreakerState::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_the_breaker_opens() {
        let mut breaker = Breaker::default();
        let pauses: Vec<Duration> = (0..7).map(|_| breaker.failed(0)).collect();
        assert!(pauses.is_sorted(), "{pauses:?}");
        assert_eq!(pauses.first(), Some(&SHORTEST));
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(breaker.failed(0), OPEN);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(breaker.failed(255) > OPEN);
        breaker.succeeded();
        assert_eq!(breaker.failed(0), SHORTEST);
    }
}
