//! Answers from the acceptance thread to those that wait: all of a commit with one wake-up for each thread of theirs.
//!
//! A wake-up from another thread costs a system call each. So who waits notes where (a desk for each thread that asks),
//! answers are put down first, and then one of those who wait at a desk is woken; it wakes the others, which costs
//! nothing within a thread. It is woken or dropped in any case, and does so either way.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

thread_local! {
    static DESK: Arc<Desk> = Arc::default();
}

/// Those of one thread that have an answer and have not been woken.
#[derive(Debug, Default)]
struct Desk(Mutex<Vec<Waker>>);

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes one to be woken; true for the first.
    fn note(&self, waker: Waker) -> bool {
        let mut waiting = self.lock();
        waiting.push(waker);
        waiting.len() == 1
    }

    fn wake_all(&self) {
        let waiting = mem::take(&mut *self.lock());
        waiting.into_iter().for_each(Waker::wake);
    }

    fn wake_one(&self) {
        let one = self.lock().last().cloned();
        if let Some(waker) = one {
            waker.wake();
        }
    }
}

/// The side that answers was let go of without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unanswered;

#[derive(Debug)]
enum Place<T> {
    Empty,
    Waiting(Waker),
    Answered(T),
    Abandoned,
    Taken,
}

#[derive(Debug)]
struct Slot<T> {
    place: Mutex<Place<T>>,
    desk: Arc<Desk>,
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, Place<T>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts down how it ended; the desk, where somebody waits there who is the first to be woken.
    fn put(&self, ended: Place<T>) -> Option<Arc<Desk>> {
        let mut place = self.lock();
        let Place::Waiting(waker) = mem::replace(&mut *place, ended) else { return None };
        // While nobody can take the answer: who took it before would be gone without waking those noted after.
        let first = self.desk.note(waker);
        drop(place);
        first.then(|| Arc::clone(&self.desk))
    }
}

/// A place for one answer, and the two who know it.
pub(super) fn slot<T>() -> (Reply<T>, Answer<T>) {
    let desk = DESK.with(Arc::clone);
    let slot = Arc::new(Slot { place: Mutex::new(Place::Empty), desk });
    (Reply(Some(Arc::clone(&slot))), Answer(slot))
}

/// The side that answers, once.
#[derive(Debug)]
pub(super) struct Reply<T>(Option<Arc<Slot<T>>>);

impl<T> Reply<T> {
    fn end(&mut self, ended: Place<T>) -> Option<Arc<Desk>> {
        self.0.take()?.put(ended)
    }

    /// Answers one.
    pub(super) fn send(mut self, answer: T) {
        if let Some(desk) = self.end(Place::Answered(answer)) {
            desk.wake_one();
        }
    }

    /// Puts all answers down, then wakes one at each desk.
    pub(super) fn send_all(answers: impl Iterator<Item = (Self, T)>) {
        let desks: Vec<Arc<Desk>> =
            answers.filter_map(|(mut reply, answer)| reply.end(Place::Answered(answer))).collect();
        desks.iter().for_each(|desk| desk.wake_one());
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(desk) = self.end(Place::Abandoned) {
            desk.wake_one();
        }
    }
}

/// The side that waits.
#[derive(Debug)]
pub struct Answer<T>(Arc<Slot<T>>);

impl<T> Future for Answer<T> {
    type Output = Result<T, Unanswered>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.desk.wake_all();
        let mut place = self.0.lock();
        match mem::replace(&mut *place, Place::Taken) {
            Place::Answered(answer) => Poll::Ready(Ok(answer)),
            Place::Abandoned | Place::Taken => Poll::Ready(Err(Unanswered)),
            Place::Empty | Place::Waiting(_) => {
                *place = Place::Waiting(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        // It may be the one that was woken.
        self.0.desk.wake_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::thread;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn polled(answer: &mut Answer<u32>, count: &Arc<Count>) -> Poll<Result<u32, Unanswered>> {
        Pin::new(answer).poll(&mut Context::from_waker(&Waker::from(Arc::clone(count))))
    }

    #[test]
    fn one_is_woken_for_all_of_a_thread_and_wakes_the_others() {
        let woken = [(); 3].map(|()| Arc::new(Count::default()));
        let told = || woken.each_ref().map(|count| count.0.load(Ordering::Relaxed));
        let (mut replies, mut answers): (Vec<_>, Vec<_>) = (0..3).map(|_| slot::<u32>()).unzip();
        for (answer, count) in answers.iter_mut().zip(&woken) {
            assert_eq!(polled(answer, count), Poll::Pending);
        }
        thread::spawn(move || Reply::send_all(replies.drain(..).zip(10..))).join().unwrap();
        assert_eq!(told().iter().sum::<usize>(), 1, "one wake-up from the other thread");
        let first = told().iter().position(|woken| *woken == 1).unwrap();
        assert_eq!(polled(&mut answers[first], &woken[first]), Poll::Ready(Ok(10 + first as u32)));
        assert!(told().iter().all(|woken| *woken >= 1), "{:?}", told());
        for at in (0..3).filter(|at| *at != first) {
            assert_eq!(polled(&mut answers[at], &woken[at]), Poll::Ready(Ok(10 + at as u32)));
        }
    }

    #[test]
    fn who_is_woken_and_gone_leaves_nobody_waiting() {
        let woken = [(); 2].map(|()| Arc::new(Count::default()));
        let (mut replies, mut answers): (Vec<_>, Vec<_>) = (0..2).map(|_| slot::<u32>()).unzip();
        for (answer, count) in answers.iter_mut().zip(&woken) {
            assert_eq!(polled(answer, count), Poll::Pending);
        }
        thread::spawn(move || Reply::send_all(replies.drain(..).zip(0..))).join().unwrap();
        let gone = woken.iter().position(|count| count.0.load(Ordering::Relaxed) == 1).unwrap();
        drop(answers.remove(gone));
        let other = 1 - gone;
        assert_eq!(woken[other].0.load(Ordering::Relaxed), 1);
        assert_eq!(polled(&mut answers[0], &woken[other]), Poll::Ready(Ok(other as u32)));
    }

    #[test]
    fn an_answer_before_anybody_waits_is_kept_and_none_is_told() {
        let ((reply, mut answer), count) = (slot::<u32>(), Arc::new(Count::default()));
        reply.send(7);
        assert_eq!(polled(&mut answer, &count), Poll::Ready(Ok(7)));
        assert_eq!(polled(&mut answer, &count), Poll::Ready(Err(Unanswered)), "once");
        let (reply, mut answer) = slot::<u32>();
        assert_eq!(polled(&mut answer, &count), Poll::Pending);
        drop(reply);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(polled(&mut answer, &count), Poll::Ready(Err(Unanswered)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_one_of_many_is_answered_whichever_threads_they_move_over() {
        let (queue, replies) = std::sync::mpsc::channel::<(Reply<u32>, u32)>();
        let answering = thread::spawn(move || {
            while let Ok(first) = replies.recv() {
                Reply::send_all(std::iter::once(first).chain(replies.try_iter().take(6)));
            }
        });
        let tasks: Vec<_> = (0..2_000_u32)
            .map(|number| {
                let queue = queue.clone();
                tokio::spawn(async move {
                    let (reply, answer) = slot();
                    queue.send((reply, number)).unwrap();
                    drop(queue);
                    assert_eq!(answer.await, Ok(number));
                })
            })
            .collect();
        drop(queue);
        for task in tasks {
            task.await.unwrap();
        }
        answering.join().unwrap();
    }
}
