/** The event loop: epoll, registrations known by generation, work handed over without locks. Internal. */
@NullMarked
package org.reactorvfio.loop;

import org.jspecify.annotations.NullMarked;
