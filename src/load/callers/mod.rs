//! What is done on a connection, or on a datagram socket: services, like the server's.
//!
//! Owns nothing but the choice between them.

mod datagrams;
mod exchanges;
mod greeted;
mod line;
mod pour;
mod visit;

pub(super) use self::datagrams::Datagrams;
use self::line::Calling;
pub(super) use self::line::Opening;
use super::desk::Desk;
use super::response::Response;
use crate::service::Service;
use std::rc::Rc;

/// What a connection of the run does once it is open.
pub(super) fn on_stream(desk: &Rc<Desk>, opening: Opening) -> Box<dyn Service> {
    let plan = &desk.plan;
    let shared = Rc::clone(desk);
    let caller: Box<dyn Service> = if plan.churn {
        Box::new(Calling(visit::Visit::new(shared, opening)))
    } else if plan.response == Response::None {
        Box::new(Calling(pour::Pour::new(shared, opening)))
    } else {
        Box::new(Calling(exchanges::Exchanges::new(shared, opening)))
    };
    match plan.first {
        Some(_) => Box::new(greeted::Greeted::new(Rc::clone(desk), caller)),
        None => caller,
    }
}
