package org.reactorvfio.loop;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.atomic.AtomicReferenceArray;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.PollSet;
import org.reactorvfio.linux.ReadBatch;
import reactor.core.Disposable;
import reactor.core.scheduler.NonBlocking;
import reactor.util.Logger;
import reactor.util.Loggers;

/**
 * A thread that waits on epoll for the descriptors of its sources and runs tasks. The thread starts with the first source and
 * ends with the last. A task that comes while there is no thread is run by whoever hands it over, under the monitor that a
 * thread needs to start: so tasks never meet one another, and none waits for a source that may never come.
 *
 * <p>Events carry a source's slot and generation, never its descriptor's number: an event that was fetched before its source
 * was deregistered finds another generation and is dropped.
 */
public class EventLoop implements Disposable {
  private static final Logger LOG = Loggers.getLogger(EventLoop.class);
  private static final int BATCH = 1024;

  /** How often a source is the only one ready before it is read again without asking epoll, and once more after a try in vain. */
  private static final int PATIENCE = 64;

  /** How often it is read again before others have their turn. */
  private static final int BURST = 16;

  /** From how many ready sources on it costs less to read them together. */
  private static final int TOGETHER = 8;

  /** How many are read together before the first of them is told. */
  private static final int READS = 64;

  /** The key of the loop's own wake-up eventfd: a slot number that no source gets. */
  private static final long WAKE_KEY = -1;

  private static final int RUNNING = 0;
  private static final int SLEEPING = 1;
  private static final int WOKEN = 2;

  private static final VarHandle WAKEUPS = counter("wakeups");
  private static final VarHandle READY = counter("ready");

  private final String name;
  private final long spinNanos;

  // Written by the loop's thread alone, read by any.
  private long wakeups;
  private long ready;

  private final AtomicReference<@Nullable LoopTask> tasks = new AtomicReference<>();

  // What follows is guarded by this object's monitor; the loop's thread reads the table without it.
  private volatile AtomicReferenceArray<@Nullable EventSource> sources =
      new AtomicReferenceArray<>(64);
  private int registered;
  private int generations;
  private boolean disposed;
  private boolean unattended;
  private volatile @Nullable Worker worker;

  /**
   * Creates a loop without a thread.
   *
   * @param name the name of its thread
   * @param spinNanos how long to spin after the last event before sleeping: 0 not at all, {@link Long#MAX_VALUE} for ever
   */
  public EventLoop(String name, long spinNanos) {
    this.name = name;
    this.spinNanos = spinNanos;
  }

  private static VarHandle counter(String field) {
    try {
      return MethodHandles.lookup().findVarHandle(EventLoop.class, field, long.class);
    } catch (ReflectiveOperationException e) {
      throw new ExceptionInInitializerError(e);
    }
  }

  /** The name of the loop's thread. */
  public final String name() {
    return name;
  }

  /** How often the loop found something ready so far. Any thread. */
  public final long wakeups() {
    return (long) WAKEUPS.getOpaque(this);
  }

  /** How many sources were ready then, in all. Any thread. */
  public final long ready() {
    return (long) READY.getOpaque(this);
  }

  /**
   * Takes a source in, disarmed. Any thread.
   *
   * @throws LinuxException if a descriptor that this needs cannot be had
   * @throws IllegalStateException if the loop was disposed of
   */
  public synchronized void register(EventSource source) throws LinuxException {
    if (disposed) {
      throw new IllegalStateException("the interrupt loop '" + name + "' was disposed of");
    }
    Worker running = worker;
    if (running == null) {
      running = new Worker(name);
    }
    int slot = freeSlot();
    source.slot = slot;
    source.generation = ++generations;
    sources.setRelease(slot, source);
    try {
      running.poll.add(source.fd(), false, key(source));
    } catch (LinuxException e) {
      sources.setRelease(slot, null);
      source.slot = -1;
      if (worker == null) {
        running.close();
      }
      throw e;
    }
    registered++;
    if (worker == null) {
      start(running, source);
    }
  }

  private void start(Worker first, EventSource source) throws LinuxException {
    // Known before it runs, so that nobody takes the loop for one without a thread.
    worker = first;
    try {
      first.start();
    } catch (OutOfMemoryError e) {
      // The JVM's name for a limit on threads.
      worker = null;
      registered--;
      sources.setRelease(source.slot, null);
      source.slot = -1;
      first.close();
      throw new LinuxException("pthread_create", Errno.EAGAIN);
    }
  }

  private int freeSlot() {
    AtomicReferenceArray<@Nullable EventSource> table = sources;
    for (int i = 0; i < table.length(); i++) {
      int slot = (registered + i) % table.length();
      if (table.getPlain(slot) == null) {
        return slot;
      }
    }
    AtomicReferenceArray<@Nullable EventSource> larger =
        new AtomicReferenceArray<>(table.length() * 2);
    for (int i = 0; i < table.length(); i++) {
      larger.setPlain(i, table.getPlain(i));
    }
    sources = larger;
    return table.length();
  }

  private static long key(EventSource source) {
    return (long) source.generation << 32 | source.slot;
  }

  /**
   * Lets a source go; its descriptor may be closed afterwards. Deregistering twice does nothing. For the loop's thread, so that
   * the loop is not about to read the descriptor.
   */
  public void deregister(EventSource source) {
    synchronized (this) {
      if (source.slot < 0) {
        return;
      }
      sources.setRelease(source.slot, null);
      source.slot = -1;
      source.armed(false);
      registered--;
      if (worker != null) {
        try {
          worker.poll.remove(source.fd());
        } catch (LinuxException e) {
          LOG.error("a descriptor was not in the loop's set: it was closed behind its back", e);
        }
      }
    }
  }

  /** Reports a source from now on whenever its descriptor is readable. For the loop's thread. */
  public void arm(EventSource source) {
    watch(source, true);
  }

  /** Reports a source no longer. For the loop's thread. */
  public void disarm(EventSource source) {
    watch(source, false);
  }

  private void watch(EventSource source, boolean input) {
    Worker running = worker;
    if (source.armed() == input || source.slot < 0 || running == null) {
      return;
    }
    try {
      running.poll.modify(source.fd(), input, key(source));
      source.armed(input);
    } catch (LinuxException e) {
      deregister(source);
      source.onLoopEnd(e);
    }
  }

  /** Tells whether the caller is the loop's thread. */
  public boolean inLoop() {
    return Thread.currentThread() == worker;
  }

  /**
   * Has a task run on the loop's thread, or at once, on the caller's, if the loop has none. Any thread.
   */
  public void schedule(LoopTask task) {
    if (task.enqueue()) {
      push(task);
    }
  }

  /**
   * Has a task run on the loop's thread, for certain or not at all. Any thread.
   *
   * @return false if the loop has no thread, because no source is registered; the task will not run
   */
  public synchronized boolean execute(LoopTask task) {
    if (worker == null) {
      return false;
    }
    schedule(task);
    return true;
  }

  private void push(LoopTask task) {
    LoopTask head;
    do {
      head = tasks.get();
      task.next = head == null ? task : head;
    } while (!tasks.compareAndSet(head, task));
    Worker running = worker;
    if (running == null) {
      runUnattended();
    } else if (running.state.get() == SLEEPING && running.state.compareAndSet(SLEEPING, WOKEN)) {
      running.wake.signal();
    }
  }

  /** Runs what was handed over to a loop that has no thread, unless one has started by now. */
  void runUnattended() {
    synchronized (this) {
      // A task that hands over another one leaves it to the round below.
      if (unattended) {
        return;
      }
      unattended = true;
      while (worker == null && tasks.get() != null) {
        runTasks();
      }
      unattended = false;
    }
  }

  /** Ends the loop: its sources are let go with an error, and it takes no more. Any thread. */
  @Override
  public void dispose() {
    synchronized (this) {
      disposed = true;
    }
    execute(LoopTask.of(() ->
        endAll(new IllegalStateException("the interrupt loop '" + name + "' was disposed of"))));
  }

  @Override
  public synchronized boolean isDisposed() {
    return disposed;
  }

  private void endAll(Throwable cause) {
    List<EventSource> all = new ArrayList<>();
    synchronized (this) {
      AtomicReferenceArray<@Nullable EventSource> table = sources;
      for (int i = 0; i < table.length(); i++) {
        EventSource source = table.getPlain(i);
        if (source != null) {
          all.add(source);
        }
      }
    }
    for (EventSource source : all) {
      deregister(source);
      try {
        source.onLoopEnd(cause);
      } catch (RuntimeException e) {
        LOG.error("a source failed while the loop ended", e);
      }
    }
  }

  void runTasks() {
    LoopTask task = tasks.getAndSet(null);
    if (task == null) {
      return;
    }
    // The stack holds the newest first: turn it round, so that tasks run in the order they came.
    LoopTask oldest = task;
    LoopTask next = task.next;
    oldest.next = oldest;
    while (next != task) {
      task = next;
      next = task.next;
      task.next = oldest;
      oldest = task;
    }
    boolean last;
    do {
      task = oldest;
      oldest = task.next;
      last = oldest == task;
      // A task that lives long must not keep those that once queued behind it.
      task.next = task;
      if (worker != null && !inLoop()) {
        // Run unattended, a task before this one has started the thread: the rest is the thread's.
        push(task);
        continue;
      }
      task.dequeue();
      try {
        task.run();
      } catch (Throwable e) {
        LOG.error("a task of the interrupt loop failed", e);
      }
    } while (!last);
  }

  private void dispatch(Worker self, int events) {
    AtomicReferenceArray<@Nullable EventSource> table = sources;
    if (events >= TOGETHER) {
      ReadBatch batch = self.batch();
      if (batch != null) {
        for (int i = 0; i < events; i += READS) {
          dispatchTogether(self, table, batch, i, Math.min(events, i + READS));
        }
        return;
      }
    }
    for (int i = 0; i < events; i++) {
      dispatch(self, table, i, events == 1);
    }
  }

  private void dispatch(
      Worker self, AtomicReferenceArray<@Nullable EventSource> table, int i, boolean alone) {
    long key = self.poll.key(i);
    if (key == WAKE_KEY) {
      self.unreadWakes -= self.wake.take();
      return;
    }
    EventSource source = find(table, key);
    if (source != null) {
      self.ready++;
      try {
        source.onReady();
        if (alone) {
          self.readAgain(source, key);
        }
      } catch (Throwable e) {
        failed(source, e);
      }
    }
  }

  /** The source of an event, null if it has left meanwhile. */
  private static @Nullable EventSource find(
      AtomicReferenceArray<@Nullable EventSource> table, long key) {
    if (key == WAKE_KEY) {
      return null;
    }
    EventSource source = table.getAcquire((int) key);
    // The slot tells of a source that has left meanwhile, even if the table was replaced by a
    // larger one.
    return source != null && source.slot == (int) key && source.generation == (int) (key >>> 32)
        ? source
        : null;
  }

  private void failed(EventSource source, Throwable e) {
    LOG.error("a source of the interrupt loop failed", e);
    disarm(source);
  }

  private void dispatchTogether(
      Worker self,
      AtomicReferenceArray<@Nullable EventSource> table,
      ReadBatch batch,
      int from,
      int to) {
    @Nullable EventSource[] together = self.together;
    for (int i = from; i < to; i++) {
      EventSource source = find(table, self.poll.key(i));
      EventFd eventFd = source == null ? null : source.wantsCount();
      if (eventFd != null) {
        together[i - from] = source;
        batch.add(eventFd);
        self.ready++;
      }
    }
    batch.read();
    int read = 0;
    for (int i = from; i < to; i++) {
      EventSource source = together[i - from];
      if (source != null) {
        source.counted(batch.count(read++));
      }
    }
    for (int i = from; i < to; i++) {
      EventSource source = together[i - from];
      together[i - from] = null;
      if (source == null) {
        dispatch(self, table, i, false);
        continue;
      }
      try {
        source.onCounted();
      } catch (Throwable e) {
        failed(source, e);
      }
    }
  }

  /** The loop's thread, with what lives as long as it does. */
  private final class Worker extends Thread implements NonBlocking {
    private final PollSet poll;
    private final EventFd wake;
    private final AtomicInteger state = new AtomicInteger(RUNNING);

    // Wake-ups whose signal has not been read: the thread that woke us may still be on its way to
    // the eventfd, which must
    // not be closed under it.
    private long unreadWakes;

    /** Who was the only one ready the last time, and for how many times. */
    private long lone = WAKE_KEY;

    private int loneRounds;

    /** Made when it is first of use. */
    private @Nullable ReadBatch batch;

    private boolean noBatch;

    /** How many sources were ready since the last wakeup was counted. */
    private int ready;

    /** The wait that a flight recording is to know of. */
    private @Nullable LoopWakeup waiting;

    private final @Nullable EventSource[] together = new EventSource[READS];

    Worker(String name) throws LinuxException {
      super(name);
      setDaemon(true);
      poll = PollSet.create(BATCH);
      try {
        wake = EventFd.create();
      } catch (LinuxException e) {
        poll.close();
        throw e;
      }
      try {
        poll.add(wake.fd(), true, WAKE_KEY);
      } catch (LinuxException e) {
        close();
        throw e;
      }
    }

    @Override
    public void run() {
      long spinUntil = System.nanoTime() + spinNanos;
      do {
        boolean spin =
            spinNanos == Long.MAX_VALUE || (spinNanos > 0 && System.nanoTime() - spinUntil < 0);
        if (FlightRecorder.PRESENT && waiting == null && LoopWakeup.wanted()) {
          waiting = LoopWakeup.start();
        }
        int events = spin ? spin() : sleep();
        if (events > 0) {
          awake(events);
          dispatch(this, events);
          count();
          if (spinNanos > 0) {
            spinUntil = System.nanoTime() + spinNanos;
          }
        } else if (events < 0) {
          LOG.error("epoll_wait failed with errno {}; the interrupt loop ends", -events);
          endAll(new IllegalStateException("epoll_wait failed with errno " + -events));
        }
        runTasks();
      } while (registered > 0 || !leave(this));
    }

    private void awake(int events) {
      LoopWakeup ended = waiting;
      if (ended != null) {
        waiting = null;
        ended.end(name, events);
      }
    }

    private void count() {
      WAKEUPS.setOpaque(EventLoop.this, wakeups + 1);
      READY.setOpaque(EventLoop.this, EventLoop.this.ready + ready);
      ready = 0;
    }

    /** Under load, one vector costs a read an event instead of a wait and a read; without load, one read in vain in 64 events. */
    void readAgain(EventSource source, long key) {
      if (key != lone) {
        lone = key;
        loneRounds = 0;
      }
      if (++loneRounds < PATIENCE) {
        return;
      }
      int burst = 0;
      while (burst < BURST && source.readAgain()) {
        burst++;
      }
      ready += burst;
      if (burst < BURST) {
        loneRounds = 0;
      }
    }

    // No Thread.onSpinWait(): a system call is pause enough, and BlockHound takes the hint for a
    // blocking call.
    private int spin() {
      return EventLoop.poll(poll, 0);
    }

    private int sleep() {
      state.set(SLEEPING);
      // A task handed over before the line above found us running and did not wake us: look once
      // more.
      int events = EventLoop.poll(poll, tasks.get() == null ? -1 : 0);
      if (state.getAndSet(RUNNING) == WOKEN) {
        unreadWakes++;
      }
      return events;
    }

    /** What reads many at once, null where the kernel does not let us. */
    @Nullable ReadBatch batch() {
      if (batch == null && !noBatch) {
        batch = ReadBatch.create(READS);
        noBatch = batch == null;
      }
      return batch;
    }

    void close() {
      if (batch != null) {
        batch.close();
      }
      wake.close();
      poll.close();
    }
  }

  /**
   * The one place where the loop's thread blocks. A method of its own so that BlockHound can be told that this may block there,
   * and nothing that a subscriber does.
   */
  private static int poll(PollSet set, int timeoutMillis) {
    return set.await(timeoutMillis);
  }

  private boolean leave(Worker self) {
    synchronized (this) {
      if (registered > 0) {
        return false;
      }
      worker = null;
      if (tasks.get() != null) {
        // Whoever handed that over may have seen the thread, and left it to it.
        worker = self;
        return false;
      }
    }
    while (self.unreadWakes > 0) {
      self.unreadWakes -= self.wake.take();
    }
    self.close();
    return true;
  }
}
