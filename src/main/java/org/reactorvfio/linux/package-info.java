/** Linux as this library needs it: system calls on primitives, eventfds, epoll, mappings. Internal. */
@NullMarked
package org.reactorvfio.linux;

import org.jspecify.annotations.NullMarked;
