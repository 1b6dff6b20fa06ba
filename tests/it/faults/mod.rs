//! Faults below the gateway and kills inside it, under load from several sources: nothing answered 2xx is lost or
//! changed, and no copy goes without its mark.

mod clock;
mod fixture;
mod full;
mod io;
#[cfg(feature = "failpoints")]
mod plan;
#[cfg(feature = "failpoints")]
mod points;
